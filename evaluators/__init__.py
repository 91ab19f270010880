"""Score a GGUF. Knows nothing of studies, budgets or SQL, and imports nothing from `optimizer`."""
