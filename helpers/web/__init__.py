"""The web demo: its models, its visitors, and the HTML of its page."""
