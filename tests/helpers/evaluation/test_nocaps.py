"""NoCaps: scores by domain, from annotations in the published format."""

import json

import pytest

from common.errors import UserError
from dataset.reference_captions import read_nocaps
from helpers.evaluation.caption_evaluation import score_domains
from helpers.evaluation.caption_metrics import FAST_METRICS, score_captions, score_table

REFERENCES = {
    0: ("near-domain", ["a red cube on the ground", "the cube is red"]),
    1: ("in-domain", ["a dog runs on grass", "a brown dog outside"]),
    2: ("out-domain", ["an otter floats in a lake", "an otter on its back"]),
    3: ("in-domain", ["a cat sleeps on a chair", "the cat is asleep"]),
    4: ("near-domain", ["two cones stand on the ground", "a pair of cones"]),
    5: ("out-domain", ["a harp in a hall", "someone plays a golden harp"]),
}
RESULTS = [
    {"image_id": 5, "caption": "A golden harp in a hall."},
    {"image_id": 4, "caption": "Two cones on the ground."},
    {"image_id": 3, "caption": "A cat on a chair."},
    {"image_id": 2, "caption": "A dog in a lake."},
    {"image_id": 1, "caption": "A brown dog runs on grass."},
    {"image_id": 0, "caption": "A cube on the ground."},
]


def annotations(**changes):
    """A file's content; `changes` replace its parts."""
    captions = [(image, text) for image, (_, texts) in REFERENCES.items() for text in texts]
    return {
        "images": [
            {"id": image, "open_images_id": f"{image:016x}", "domain": domain, "width": 1024, "height": 768}
            for image, (domain, _) in REFERENCES.items()
        ],
        "annotations": [
            {"id": number, "image_id": image, "caption": text} for number, (image, text) in enumerate(captions)
        ],
    } | changes


@pytest.fixture
def read(tmp_path):
    def write_and_read(content):
        path = tmp_path / "nocaps_val_4500_captions.json"
        path.write_text(json.dumps(content))
        return read_nocaps(path)

    return write_and_read


@pytest.fixture(autouse=True)
def no_java(monkeypatch, tmp_path):
    """Java takes seconds to start."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_reads_references_and_domains(read):
    references, domains = read(annotations())
    assert references == {image: texts for image, (_, texts) in REFERENCES.items()}
    assert domains == {image: domain for image, (domain, _) in REFERENCES.items()}


def test_each_domain_is_scored_as_a_data_set_of_its_own(read):
    references, domains = read(annotations())
    scores = score_domains(RESULTS, references, domains, FAST_METRICS)
    assert list(scores) == ["in-domain", "near-domain", "out-domain", "overall"]
    for name, found in scores.items():
        images = [image for image in references if name in (domains[image], "overall")]
        results = [row for row in RESULTS if row["image_id"] in images]
        alone = score_captions(results, {image: references[image] for image in images}, FAST_METRICS)
        assert found == alone
    of_domains = [scores[name].metrics["CIDEr"] for name in list(scores)[:3]]
    assert len(set(of_domains)) == 3
    # Words that are in all images of a domain count for nothing there, but do among all images.
    assert scores["overall"].metrics["CIDEr"] != pytest.approx(sum(of_domains) / 3, abs=1e-3)


def test_a_domain_without_images_has_no_scores(read):
    references, domains = read(annotations())
    references = {image: references[image] for image in (1, 2)}
    results = [row for row in RESULTS if row["image_id"] in references]
    assert list(score_domains(results, references, domains, ["cider"])) == ["in-domain", "out-domain", "overall"]


def test_table(read):
    """A metric that failed on one domain leaves a gap; notes that all domains share are printed once."""
    scores = score_domains(RESULTS, *read(annotations()), ["rouge", "spice"])
    del scores["near-domain"].metrics["ROUGE_L"]
    head, rouge, approximate, spice = score_table(scores).splitlines()
    assert head.split() == ["in-domain", "near-domain", "out-domain", "overall"]
    values = [f"{found.metrics['ROUGE_L']:.4f}" for found in scores.values() if found.metrics]
    assert rouge.split() == ["ROUGE_L", *values]
    assert rouge.index(values[1]) > len("ROUGE_L") + 2 * len(" near-domain")
    assert approximate.startswith("note: scores are approximate")
    assert spice == "note: SPICE skipped: it needs Java"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "the domain of image 0 is 'None', not one of in-domain, near-domain, out-domain"),
        ({"images": [{"id": 0, "domain": "entire"}]}, "the domain of image 0 is 'entire'"),
        ({"images": [{"domain": "in-domain"}]}, "not NoCaps' annotations"),
        ({"images": ["0.jpg"]}, "not NoCaps' annotations"),
        ({"annotations": [{"image_id": 0}]}, "not in COCO's caption format"),
    ],
)
def test_other_files(read, changes, message):
    with pytest.raises(UserError, match=r"nocaps_val_4500_captions\.json: " + message):
        read(annotations(**changes))
