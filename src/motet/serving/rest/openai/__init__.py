"""OpenAI's protocol, for graphs from a text, or a conversation, to a text or a vector."""
