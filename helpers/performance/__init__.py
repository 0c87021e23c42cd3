"""Speed on a GPU: compilation, CUDA graphs, blocks in bf16."""
