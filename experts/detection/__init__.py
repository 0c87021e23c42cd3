"""Object detection: boxes of 722 classes, painted into one map of instances.

`unidet` (backbone, proposals, cascade, network, checkpoint) is the detector of the released labels, `owlv2`
a modern alternative; `label` turns the boxes of either into a label.
"""
