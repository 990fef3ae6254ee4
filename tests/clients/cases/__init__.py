"""Every case, in the order they run."""

from . import openai_python, openai_javascript, openai_stored, anthropic_python, anthropic_javascript  # noqa: F401
from . import codex, claude_code, setup, matrix, agents, mock, cost, plans, refused, refused_meanwhile, faults  # noqa: F401
from . import stripe_python, stripe_javascript, top_up, document  # noqa: F401
