"""Who asks, and what they may do: tokens, permission rules, API keys and the origins of browsers."""
