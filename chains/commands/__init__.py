"""The commands of `chains`, thin: each reads its arguments, calls one thing, and prints it."""
