"""`freshet pretrain` and `freshet finetune`: a model from a data set, without a stream."""
