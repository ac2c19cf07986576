//! Queries meant to do harm, by the names of the design: B8 texts, B9 regexes, B10 heavy work, O4 a
//! noisy reader. Each ends soon, in an answer or a refusal, on a small stack, and lets go when told.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is all test, its helpers too")]

mod hostile {
    mod bombs;
    mod door;
    mod heavy;
    mod noisy;
    mod regexes;
    mod stack;
    mod subqueries;
    mod texts;
}
