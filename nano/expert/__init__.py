"""The experts of Scenes: one small network with a head for each of the six labels.

Reading order: network, decode, backend (how it labels); data, losses, metrics, train (how it is made).
"""
