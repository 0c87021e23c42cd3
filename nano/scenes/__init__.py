"""Scenes: a procedural image data set in the files and folders of COCO and VQAv2.

`python -m nano.scenes --out DIR --train N --test M --seed S` writes it; in memory:
`nano.scenes.scene.render_scene(seed)`. Reading order: lexicon, world, geometry, render, labels,
captions, questions, scene, write.
"""
