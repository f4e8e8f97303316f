"""Facts about the actions and events of Asterisk 13 to 23, and the generator of the modules made from them."""
