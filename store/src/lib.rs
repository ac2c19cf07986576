//! The LSM engine of one node: no async, no sockets, no thread, no clock of its own.
