"""The network alone. Start at `prismer.py`; `captioning.py` and `vqa.py` are its two tasks."""
