"""The tables that pass between stages, one declared Arrow schema each, checked on write and on read."""
