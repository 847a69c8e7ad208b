"""What a training step is fed with: the pairs, their order, and the processes that read them ahead."""
