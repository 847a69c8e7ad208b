"""The way from a pair of pictures to its flow: where a network's refinement begins, and what improves its flow after."""
