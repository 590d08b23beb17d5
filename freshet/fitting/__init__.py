"""`freshet pretrain`, `finetune` and `fit`: a model from a data set, without a stream."""
