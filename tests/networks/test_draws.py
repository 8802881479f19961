"""Draws by key and index: permutations and normal numbers that repeat."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import tensor

from distillery.networks.draws import bits, normal, shuffled


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 641, 150_000])
def test_a_permutation_has_every_number_once(size: int) -> None:
    order = shuffled(torch.arange(size), tensor(size), tensor(2**62 + 11))
    assert torch.equal(order.sort().values, torch.arange(size))


def test_permutations_of_neighbouring_keys_are_uncorrelated() -> None:
    size = 40_000
    orders = shuffled(torch.arange(size), tensor(size), tensor([[5], [6]])).double()
    # Correlations of independent orders are normal with a deviation of 1/√size; five of these are a defect.
    compared = [orders[0], orders[1], torch.arange(size).double(), orders[0].roll(1)]
    found = torch.corrcoef(torch.stack(compared))
    assert found.fill_diagonal_(0).abs().max() < 5 / size**0.5


def test_permutations_of_few_numbers_are_uniform_and_independent_for_neighbouring_keys() -> None:
    keys, four = torch.arange(24_000)[:, None], torch.arange(4)
    one, other = (shuffled(four, tensor(4), keys + offset) for offset in (0, 1))
    ranks = [torch.unique(orders, dim=0, return_inverse=True)[1] for orders in (one, other)]
    counts = torch.bincount(ranks[0])
    assert len(counts) == 24
    assert 850 < counts.min() < counts.max() < 1150
    assert stats.chi2_contingency(torch.bincount(24 * ranks[0] + ranks[1], minlength=576).view(24, 24)).pvalue > 1e-4


def test_stacked_cells_have_separate_sizes_and_permutations() -> None:
    place, sizes, keys = torch.arange(10), tensor([[10], [17]]), tensor([[1], [2]])
    both = shuffled(place, sizes, keys)
    for row in (0, 1):
        assert torch.equal(both[row], shuffled(place, sizes[row], keys[row]))


def test_normal_draws_are_normal_and_independent_of_each_other() -> None:
    drawn = normal(tensor([[3], [4]]), torch.arange(100_000))
    assert stats.kstest(drawn[0].numpy(), "norm").pvalue > 1e-4
    assert torch.corrcoef(torch.stack([drawn[0], drawn[1], drawn[0].roll(1)])).fill_diagonal_(0).abs().max() < 0.016


def test_bits_are_those_of_splitmix64() -> None:
    # The published generator's state after n + 1 steps from a seed is seed + (n + 1)·golden; its first outputs for
    # seed 0 are the reference's. Here the seed is the mixed key, and the place is n + 1.
    assert bits(tensor(0), torch.arange(1, 4)).tolist() == [
        0xE220A8397B1DCDAF - 2**64,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]
