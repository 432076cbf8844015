"""Fine-tuning any transformers causal language model on a user's chat data with PEFT LoRA."""
