"""The words of Scenes: colours, shapes, sizes, sign words, class names."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 28, 28),
    "yellow": (246, 212, 24),
    "green": (30, 150, 48),
    "cyan": (40, 205, 220),
    "blue": (32, 62, 215),
    "purple": (140, 40, 180),
    "white": (246, 246, 246),
    "black": (40, 40, 44),
}
SHAPES = ("sphere", "cube", "cylinder", "cone")
SIZES: dict[str, float] = {"small": 0.46, "large": 0.86}  # scale of a solid in world units
PATTERNS = ("plain", "checkered", "striped")  # of the floor

WORDS = (  # what a sign may say: 40 words of 3 to 6 letters
    *("bank", "beach", "books", "bread", "bus", "cafe", "danger", "east", "exit", "farm"),
    *("fish", "free", "garden", "gate", "hello", "help", "hotel", "lunch", "market", "milk"),
    *("music", "north", "open", "park", "pizza", "police", "port", "rent", "river", "sale"),
    *("school", "shop", "slow", "south", "stop", "taxi", "tea", "wait", "west", "zoo"),
)

SCENES_CLASSES = ("sky", "ground", *SHAPES, "sign")  # of the segmentation
DETECTION_CLASSES = (*(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES), "sign")

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
