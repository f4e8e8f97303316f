"""Small applications that the tests run under real process managers."""
