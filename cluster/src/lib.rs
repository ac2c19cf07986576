//! Who owns what, and what the replies add up to: tables and arithmetic, no I/O.
