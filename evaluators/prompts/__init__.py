"""Prompt suites: what is asked, how answers are judged. See docs/prompts.md."""
