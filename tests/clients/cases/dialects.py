"""The clients' dialects: one conversation written in each, and each one's answer read into one form.

A conversation is a list of turns: `("system" | "developer" | "user" | "said", text)`, `("picture", text)`,
`("answered", Answer)` for what the model said before, `("result", call id, text)`.
"""

import json
from dataclasses import dataclass

# A PNG of one pixel.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
PICTURE_URL = f"data:image/png;base64,{PICTURE}"
MOST_TOKENS = 8_000
THINKING_BUDGET = 4_000


@dataclass
class Answer:
    """What a client got, whatever it speaks. `finish` is `stop`, `stop text`, `tools` or `length`."""

    text: str
    thinking: str
    calls: list  # of (id, name, arguments)
    finish: str
    model: str
    input_tokens: int  # all
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int  # 0 where the dialect does not say
    raw: dict


def joined(parts):
    return "".join(part or "" for part in parts)


def without_parsed(value):
    """As the SDK's own helpers send it back: what they worked out themselves is not the API's."""
    if isinstance(value, dict):
        own = ("parsed", "parsed_arguments", "parsed_output")
        return {key: without_parsed(each) for key, each in value.items() if each is not None and key not in own}
    return [without_parsed(each) for each in value] if isinstance(value, list) else value


def detail(usage, part, name):
    """0 where it is not told."""
    return (usage.get(part) or {}).get(name) or 0


class Responses:
    name = "responses"
    has_stop_texts = False

    def body(self, model, turns, tools=None, schema=None, stop=None, effort=None, limit=None):
        body = {"model": model, "input": [item for turn in turns for item in self.items(turn)], "store": False}
        if tools:
            body["tools"] = [{"type": "function", **tool, "strict": False} for tool in tools]
        if schema:
            body["text"] = {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": schema}}
        if effort:
            body.update(reasoning={"effort": effort, "summary": "auto"}, include=["reasoning.encrypted_content"])
        if limit:
            body["max_output_tokens"] = limit
        return body

    def items(self, turn):
        kind, value = turn[0], turn[1]
        if kind == "answered":
            return without_parsed(value.raw["output"])
        if kind == "result":
            return [{"type": "function_call_output", "call_id": value, "output": turn[2]}]
        if kind == "picture":
            picture = {"type": "input_image", "image_url": PICTURE_URL, "detail": "auto"}
            return [{"role": "user", "content": [{"type": "input_text", "text": value}, picture]}]
        return [{"role": "assistant" if kind == "said" else kind, "content": value}]

    def answer(self, raw):
        items = raw["output"]
        parts = [part for item in items if item["type"] == "message" for part in item["content"]]
        calls = [
            (item["call_id"], item["name"], json.loads(item["arguments"]))
            for item in items if item["type"] == "function_call"
        ]
        finish = "tools" if calls else "stop"
        if raw["status"] == "incomplete":
            finish = {"max_output_tokens": "length"}[raw["incomplete_details"]["reason"]]
        thinking = [part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"]]
        usage = raw["usage"]
        return Answer(
            text=joined(part.get("text") for part in parts), thinking=joined(thinking), calls=calls, finish=finish,
            model=raw["model"], input_tokens=usage["input_tokens"],
            cached_tokens=detail(usage, "input_tokens_details", "cached_tokens"), output_tokens=usage["output_tokens"],
            reasoning_tokens=detail(usage, "output_tokens_details", "reasoning_tokens"), raw=raw,
        )


class Chat:
    name = "chat"
    has_stop_texts = True

    def body(self, model, turns, tools=None, schema=None, stop=None, effort=None, limit=None):
        body = {"model": model, "messages": [self.message(turn) for turn in turns]}
        if tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        if schema:
            named = {"name": "answer", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if stop:
            body["stop"] = [stop]
        if effort:
            body["reasoning_effort"] = effort
        if limit:
            body["max_completion_tokens"] = limit
        return body

    def message(self, turn):
        kind, value = turn[0], turn[1]
        if kind == "answered":
            return without_parsed(value.raw["choices"][0]["message"])
        if kind == "result":
            return {"role": "tool", "tool_call_id": value, "content": turn[2]}
        if kind == "picture":
            picture = {"type": "image_url", "image_url": {"url": PICTURE_URL}}
            return {"role": "user", "content": [{"type": "text", "text": value}, picture]}
        return {"role": "assistant" if kind == "said" else kind, "content": value}

    def answer(self, raw):
        choice, usage = raw["choices"][0], raw["usage"]
        message = choice["message"]
        calls = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or []
        ]
        return Answer(
            text=message.get("content") or "", thinking=message.get("reasoning_content") or "", calls=calls,
            finish={"stop": "stop", "tool_calls": "tools", "length": "length"}[choice["finish_reason"]],
            model=raw["model"], **completion_usage(usage), raw=raw,
        )


def completion_usage(usage):
    return {
        "input_tokens": usage["prompt_tokens"],
        "cached_tokens": detail(usage, "prompt_tokens_details", "cached_tokens"),
        "output_tokens": usage["completion_tokens"],
        "reasoning_tokens": detail(usage, "completion_tokens_details", "reasoning_tokens"),
    }


class Completions:
    """Has a prompt alone: of a conversation, what the user said last."""

    name = "completions"
    has_stop_texts = True

    def body(self, model, turns, stop=None, limit=None):
        body = {"model": model, "prompt": turns[-1][1], "max_tokens": limit or MOST_TOKENS}
        if stop:
            body["stop"] = [stop]
        return body

    def answer(self, raw):
        choice = raw["choices"][0]
        return Answer(
            text=choice["text"], thinking="", calls=[], finish=choice["finish_reason"], model=raw["model"],
            **completion_usage(raw["usage"]), raw=raw,
        )


class Messages:
    name = "messages"
    has_stop_texts = True

    def body(self, model, turns, tools=None, schema=None, stop=None, effort=None, limit=None):
        body = {"model": model, "max_tokens": limit or MOST_TOKENS, "messages": []}
        for turn in turns:
            self.add(body, turn)
        if tools:
            body["tools"] = [{"name": tool["name"], "input_schema": tool["parameters"]} for tool in tools]
        if schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if stop:
            body["stop_sequences"] = [stop]
        if effort:
            body["thinking"] = {"type": "enabled", "budget_tokens": THINKING_BUDGET}
        return body

    def add(self, body, turn):
        kind, value, messages = turn[0], turn[1], body["messages"]
        if kind in ("system", "developer"):
            body.setdefault("system", []).append({"type": "text", "text": value})
        elif kind == "answered":
            messages.append({"role": "assistant", "content": without_parsed(value.raw["content"])})
        elif kind == "result":
            block = {"type": "tool_result", "tool_use_id": value, "content": turn[2]}
            if messages[-1]["role"] == "user":
                messages[-1]["content"].append(block)
            else:
                messages.append({"role": "user", "content": [block]})
        elif kind == "picture":
            source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
            blocks = [{"type": "text", "text": value}, {"type": "image", "source": source}]
            messages.append({"role": "user", "content": blocks})
        else:
            messages.append({"role": "assistant" if kind == "said" else "user", "content": value})

    def answer(self, raw):
        blocks, usage = raw["content"], raw["usage"]
        finishes = {"end_turn": "stop", "stop_sequence": "stop text", "tool_use": "tools", "max_tokens": "length"}
        cached = usage.get("cache_read_input_tokens") or 0
        return Answer(
            text=joined(block["text"] for block in blocks if block["type"] == "text"),
            thinking=joined(block["thinking"] for block in blocks if block["type"] == "thinking"),
            calls=[(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
            finish=finishes[raw["stop_reason"]], model=raw["model"],
            input_tokens=usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0),
            cached_tokens=cached, output_tokens=usage["output_tokens"], reasoning_tokens=0, raw=raw,
        )


DIALECTS = {dialect.name: dialect for dialect in (Responses(), Chat(), Completions(), Messages())}
