"""The camera, the primitives, and the ray caster."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SKY, GROUND = -2, -1  # owners of a ray beside the primitives, which count from 0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the ground (z = 0), in world coordinates (z up).

    Attributes:
        height: metres above the ground.
        azimuth: viewing direction, radians from the x axis.
        pitch: radians below the horizon.
        focal: focal length in units of the image's long side.
        size: image width and height in pixels.
    """

    height: float
    azimuth: float
    pitch: float
    focal: float
    size: tuple[int, int]

    @cached_property
    def position(self) -> np.ndarray:
        """Its position, (3,)."""
        return np.array([0.0, 0.0, self.height])

    @cached_property
    def axes(self) -> np.ndarray:
        """Rows right, up, forward, (3, 3)."""
        c, s = np.cos(self.azimuth), np.sin(self.azimuth)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        return np.array([[s, -c, 0.0], [c * sp, s * sp, cp], [c * cp, s * cp, -sp]])

    @property
    def extent(self) -> tuple[float, float]:
        """Half width and half height of the image on the plane at distance 1."""
        width, height = self.size
        scale = 0.5 / (self.focal * max(self.size))
        return width * scale, height * scale

    def on_ground(self, distance: float, lateral: float) -> tuple[float, float]:
        """World x, y of the ground point at a distance ahead and `lateral` to the right."""
        c, s = np.cos(self.azimuth), np.sin(self.azimuth)
        return float(distance * c + lateral * s), float(distance * s - lateral * c)

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (n, 3) -> (n, 3): right and up on the plane at distance 1, and depth."""
        x, y, z = self.axes @ (points - self.position).T
        return np.stack([x / z, y / z, z], axis=1)

    def grid(self, columns: int, rows: int, pad: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Centres of a grid of cells over `pad` times the image: x (columns,), y (rows,) at distance 1."""
        half_width, half_height = self.extent
        x = ((np.arange(columns) + 0.5) / columns * 2 - 1) * half_width * pad
        y = (1 - (np.arange(rows) + 0.5) / rows * 2) * half_height * pad
        return x.astype(np.float32), y.astype(np.float32)

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Directions (3, rows, columns) of depth 1, so that a ray's parameter is its depth."""
        right, up, forward = self.axes.astype(np.float32)
        column = forward[:, None] + right[:, None] * x  # [3, columns]
        return column[:, None, :] + (up[:, None] * y)[:, :, None]


@dataclass(frozen=True)
class Primitive:
    """A convex body: sphere, cube (any box), cylinder or cone (both upright).

    Attributes:
        shape: one of the four.
        centre: centre of its bounding box.
        half: half extents of its bounding box before the rotation.
        yaw: rotation about the vertical, radians.
    """

    shape: str
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float = 0.0

    @property
    def radius(self) -> float:
        """Radius of its bounding sphere."""
        return self.half[0] if self.shape == "sphere" else float(np.linalg.norm(self.half))

    @property
    def corners(self) -> np.ndarray:
        """Corners of its rotated bounding box, (8, 3)."""
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
        x, y, z = (signs * self.half).T
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack([c * x - s * y, s * x + c * y, z], axis=1) + self.centre

    def turn(self, vectors: np.ndarray, back: bool = False) -> np.ndarray:
        """World directions (3, ...) to its own frame, or back."""
        c, s = np.float32(np.cos(self.yaw)), np.float32(-np.sin(self.yaw) if back else np.sin(self.yaw))
        x, y, z = vectors
        return np.stack([c * x + s * y, c * y - s * x, z])

    def local(self, points: np.ndarray) -> np.ndarray:
        """World points (3, ...) in its own frame, its centre at 0."""
        centre = np.asarray(self.centre, np.float32).reshape(3, *[1] * (points.ndim - 1))
        return self.turn(points - centre)

    def hit(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The parameter at which rays enter it; inf if they miss it or start inside.

        Args:
            origin: world points (3, ...), or one point with trailing axes of 1.
            direction: directions that broadcast with the origins.
        """
        o, d = self.local(origin), self.turn(direction)
        with np.errstate(divide="ignore", invalid="ignore"):
            enter, leave = _SPANS[self.shape](o, d, [np.float32(h) for h in self.half])
            return np.where((enter < leave) & (enter > 0), enter, np.float32(np.inf))

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Unit outward normals (3, n) in the world at points (3, n) of its surface."""
        p = self.local(points)
        half = np.asarray(self.half, np.float32)[:, None]
        if self.shape == "sphere":
            normal = p
        elif self.shape == "cube":
            face = np.argmax(np.abs(p) / half, axis=0)
            normal = np.where(np.arange(3)[:, None] == face, np.sign(p), np.float32(0))
        else:
            slope = half[0] / (2 * half[2]) if self.shape == "cone" else np.zeros(1, np.float32)
            normal = np.stack([p[0], p[1], np.hypot(p[0], p[1]) * slope])
            if self.shape == "cylinder":  # its base is on the ground, where no ray meets it
                top = p[2] > half[2] * np.float32(1 - 1e-4)
                normal[:, top] = np.float32([[0], [0], [1]])
        normal = normal / np.maximum(np.linalg.norm(normal, axis=0), np.float32(1e-6))
        return self.turn(normal, back=True)


def _slab(o, d, half):  # parameters between which |coordinate| <= half
    a, b = (-half - o) / d, (half - o) / d
    return np.minimum(a, b), np.maximum(a, b)


def _roots(a, b, c):  # of a t^2 + 2 b t + c; nan if there are none
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


def _sphere(o, d, half):
    return _roots((d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - half[0] ** 2)


def _cube(o, d, half):
    spans = [_slab(o[axis], d[axis], half[axis]) for axis in range(3)]
    enter = np.maximum(np.maximum(spans[0][0], spans[1][0]), spans[2][0])
    return enter, np.minimum(np.minimum(spans[0][1], spans[1][1]), spans[2][1])


def _cylinder(o, d, half):
    side = _roots(d[0] ** 2 + d[1] ** 2, o[0] * d[0] + o[1] * d[1], o[0] ** 2 + o[1] ** 2 - half[0] ** 2)
    ends = _slab(o[2], d[2], half[2])
    return np.maximum(side[0], ends[0]), np.minimum(side[1], ends[1])


def _cone(o, d, half):
    slope = (half[0] / (2 * half[2])) ** 2
    below = half[2] - o[2]  # height of the apex above the origin
    a = d[0] ** 2 + d[1] ** 2 - slope * d[2] ** 2
    first, second = _roots(
        a, o[0] * d[0] + o[1] * d[1] + slope * below * d[2], o[0] ** 2 + o[1] ** 2 - slope * below**2
    )
    low, high = np.minimum(first, second), np.maximum(first, second)
    # A ray steeper than the cone is inside the lower half of the double cone before or after both roots.
    steep, down = a < 0, d[2] < 0
    enter = np.where(steep, np.where(down, high, np.float32(-np.inf)), low)
    leave = np.where(steep, np.where(down, np.float32(np.inf), low), high)
    ends = _slab(o[2], d[2], half[2])
    return np.maximum(enter, ends[0]), np.minimum(leave, ends[1])


_SPANS = {"sphere": _sphere, "cube": _cube, "cylinder": _cylinder, "cone": _cone}


@dataclass(frozen=True)
class Trace:
    """The first hits of a grid of rays.

    Attributes:
        rays: directions (3, rows, columns).
        depth: camera depth (rows, columns), inf in the sky.
        owner: primitive index, GROUND or SKY, int8 (rows, columns).
        full: for each primitive, the number of rays that would hit it alone.
    """

    rays: np.ndarray
    depth: np.ndarray
    owner: np.ndarray
    full: list[int]


def trace(camera: Camera, primitives: list[Primitive], x: np.ndarray, y: np.ndarray) -> Trace:
    """Casts a ray through each (x, y) of a grid on the camera's plane at distance 1."""
    rays = camera.rays(x, y)
    origin = camera.position.astype(np.float32)[:, None, None]
    with np.errstate(divide="ignore"):
        depth = np.where(rays[2] < 0, -origin[2] / rays[2], np.float32(np.inf))
    owner = np.where(rays[2] < 0, GROUND, SKY).astype(np.int8)
    full = []
    for index, primitive in enumerate(primitives):
        corners = camera.project(primitive.corners)
        columns = slice(*np.searchsorted(x, [corners[:, 0].min(), corners[:, 0].max()]))
        rows = slice(*np.searchsorted(-y, [-corners[:, 1].max(), -corners[:, 1].min()]))
        window = (rows, columns)
        reach = primitive.hit(origin, rays[:, rows, columns])
        nearer = reach < depth[window]
        depth[window][nearer] = reach[nearer]
        owner[window][nearer] = index
        full.append(int(np.isfinite(reach).sum()))
    return Trace(rays, depth, owner, full)
