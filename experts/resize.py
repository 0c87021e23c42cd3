"""The size at which networks see images that keep their shape."""

from PIL import Image


def shortest_side(image: Image.Image, short: int = 479, long: int = 480) -> Image.Image:
    """Resizes an image (bilinear) so that it keeps its shape.

    Sizes are rounded as `torchvision.transforms.Resize(short, max_size=long)` rounds them, with which
    the released models' labels were made: down, and the longer side before the shorter one.

    Args:
        image: of any mode that PIL can interpolate.
        short: length of the shorter side, in pixels,
        long: unless the longer side would exceed this: then the length of the longer side.
    """
    width, height = image.size
    resized_long = short * max(width, height) // min(width, height)
    if resized_long > long:
        short, resized_long = max(1, long * short // resized_long), long
    size = (short, resized_long) if width <= height else (resized_long, short)
    return image.resize(size, Image.Resampling.BILINEAR)
