"""Images and masks as words: vector-quantised codecs and an autoregressive transformer over their tokens."""
