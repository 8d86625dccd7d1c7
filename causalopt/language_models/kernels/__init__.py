"""Operations that are faster or smaller than PyTorch's own, and compute the same."""
