"""Facts about the actions and events of Asterisk 13 to 23, and what is generated from them."""
