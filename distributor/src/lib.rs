//! Takes writes in: checks, cuts by partition, fans out to replicas.
