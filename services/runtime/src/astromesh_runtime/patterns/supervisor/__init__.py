"""A supervisor asks agents that work for it, looks over what they bring, and asks again."""
