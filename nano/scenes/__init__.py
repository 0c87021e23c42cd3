"""Scenes: a procedural image data set in the files and folders of COCO and VQAv2.

`python -m nano.scenes --out DIR --train N --test M --seed S` writes it; `scene.render_scene(seed)` renders
one scene in memory. Reading order: vocabulary, geometry, world, render, labels, captions, questions, scene,
dataset_files.
"""
