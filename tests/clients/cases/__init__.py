"""Every case, in the order they run."""

from . import openai_python, openai_javascript, openai_stored, anthropic_python, anthropic_javascript, codex, claude_code, setup  # noqa: F401
