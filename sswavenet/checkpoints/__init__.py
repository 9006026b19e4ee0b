"""Files of weights: the 2018 program's and ours."""
