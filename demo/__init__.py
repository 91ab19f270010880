"""The bundled demonstration model: how its texts are made, how it was trained, and what was measured on it."""
