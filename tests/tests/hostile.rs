//! Queries meant to do harm, by the names of the design: B8 texts, B9 regexes, B10 heavy work, O4 a
//! noisy reader; and B2, B3, B5, B6 through OTLP and imports. Each ends soon, in an answer or a refusal, on a small stack, and lets go when told.
//! Queries, writes and connections meant to do harm, by the names of the design: B8 texts, B9 regexes,
//! B10 heavy work, O4 a noisy reader; bodies, floods and storms; slow and ambiguous connections. Each
//! ends soon, in an answer or a refusal, on a small stack, and lets go when told.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is all test, its helpers too")]

mod hostile {
    mod abuse;
    mod bombs;
    mod door;
    mod heavy;
    mod inlets;
    mod noisy;
    mod overload;
    mod regexes;
    mod stack;
    mod texts;
}
