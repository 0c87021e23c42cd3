"""Records in tar files (WebDataset's layout), read by name like files of a folder (docs/shards.md).

`shard_folder.py` reads them; `python -m dataset.shards` packs folders, unpacks and indexes shards.
"""
