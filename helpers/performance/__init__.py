"""What makes training and inference fast on a GPU: compilation, CUDA graphs, blocks in bf16."""
