"""Object detection: boxes of 722 classes, painted into one map of instances.

`unidet` made the released models' labels (reading order: backbone, boxes, proposals, cascade, network,
checkpoint, unidet), `owlv2` is a modern alternative. `label` makes a label of the `detections` of either.
"""
