//! One replica: runs the store's jobs and answers the peers.
