"""How a model behaves on a suite of prompts: what it solves, what never ends, and how it compares with another."""
