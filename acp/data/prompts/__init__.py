"""Prompts: few-shot chats in Markdown, read by `acp.core.prompts`."""
