"""Distil messages of a network of your own: a PyTorch module that was trained elsewhere takes the place of ours.

Here the module is a small one that is trained on accelerations as a sum over pairs, without any class of distillery.
"""

import torch

import distillery as ds


class Pairs(torch.nn.Module):
    """Messages of pairs: (edge, feature) of receivers and of senders to (edge, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)
        )

    def forward(self, receivers: torch.Tensor, senders: torch.Tensor) -> torch.Tensor:
        """Return messages; features are position, velocity, charge and mass."""
        delta = receivers[:, :2] - senders[:, :2]
        return self.layers(torch.cat([delta, delta.norm(dim=1, keepdim=True)], dim=1))


def main(steps: int = 1500) -> ds.Law:
    """Train the module on springs, distil its messages and return the law."""
    data = ds.simulate(ds.systems["spring"], simulations=400, snapshots=20, show_progress=False)
    torch.manual_seed(0)
    module, bodies = Pairs(), data.particles
    position = torch.tensor(data.position).flatten(0, 1)
    mass = torch.tensor(data.mass, dtype=torch.float32).repeat_interleave(len(data.time), 0)
    force = torch.tensor(data.acceleration).flatten(0, 1) * mass[..., None]
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    pairs = [(i, j) for i in range(bodies) for j in range(bodies) if i != j]
    to, by = (torch.tensor(side) for side in zip(*pairs, strict=True))
    for _ in range(steps):
        some = torch.randint(len(position), (256,))
        ends = [position[some][:, side].flatten(0, 1) for side in (to, by)]
        sent = module(*ends).unflatten(0, (256, -1))
        summed = torch.zeros(256, bodies, 2).index_add(1, to, sent)
        loss = (summed - force[some]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    messages = ds.messages(module, data)
    front = ds.distill(messages, show_progress=False)
    return ds.fit_law(front, data)


if __name__ == "__main__":
    law = main()
    print(law, ds.compare(law, ds.systems["spring"]), sep="\n")
