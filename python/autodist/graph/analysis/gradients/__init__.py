"""What is combined and scaled so that gradients are those of one node."""
