"""Speed, memory and accuracy of the metrics of the chapter on evaluation, against pytorch-fid, torch-fidelity and prdc, in one run.

`python benchmarks/metrics.py --out FILE` measures and writes the rows; `bench_metrics(rounds)` returns them to run.py. Idle machine, 2 cores.
"""
import argparse
import contextlib
import io
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import scipy.linalg
import torch

from run import ROOT, compare, figure, python, rounds, timed
from lgm_nbdev.data import get_splits, write_json
from lgm_nbdev.evaluation import (RunningMoments, density_coverage_from_features, evaluate, fid_from_features, frechet_distance, kid_from_features,
                                  precision_recall_from_features, prepare_reference)
from lgm_nbdev.experiments import machine, versions


def features(n: int, d: int, seed: int, scale: float = 1.) -> torch.Tensor:
    "(n, d) float32, correlated, nonnegative: what a network's last layer gives."
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(d, d, generator=generator) / d**0.5 * torch.linspace(1, 0.1, d)
    x = torch.randn(n, d, generator=generator.manual_seed(seed + 1)) @ mixing + 0.2
    return scale * (1 + 0.1 * seed) * x.relu()


def moments(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    "Mean and covariance, float64."
    m = RunningMoments().update(x)
    return m.mean.numpy(), m.covariance().numpy()


# ---------------------------------------------------------------- FID from moments
def bench_frechet(n: int, d: int, samples: int) -> dict:
    "The distance of two Gaussians from their moments: time and agreement."
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    (m1, c1), (m2, c2) = (moments(features(samples, d, seed)) for seed in (0, 1))
    values, work = {}, {'ours': lambda: frechet_distance(m1, c1, m2, c2), 'pytorch-fid': lambda: calculate_frechet_distance(m1, c1, m2, c2),
                        'torch-fidelity': lambda: fid_statistics_to_metric({'mu': m1, 'sigma': c1}, {'mu': m2, 'sigma': c2}, False)['frechet_inception_distance']}

    def contender(name):
        def run(): values[name] = work[name]()
        return lambda: (1, timed(run))

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        rates = rounds({name: contender(name) for name in work}, n)
    title = f'FID from moments, D={d}, float64, n={samples}'
    rows = {f'{title}: ours / {rival}': compare(rates, 'ours', rival, f'at least {least}') for rival, least in (('pytorch-fid', 5), ('torch-fidelity', 2))}
    for rival in ('pytorch-fid', 'torch-fidelity'):
        rows[f'{title}: relative difference from {rival}'] = figure(float(abs(values['ours'] / values[rival] - 1)), 'relative', 'under 1e-9')
    return rows


def bench_few(d: int, samples: int) -> dict:
    "With fewer images than dimensions: agreement with symmetric roots from singular value decompositions of the data."
    def root(x):
        _, s, v = scipy.linalg.svd(x - x.mean(0), full_matrices=False)
        return (v.T * (s / (len(x) - 1)**0.5)) @ v

    worst = {'features': 0., 'moments': 0.}
    for scale in (1., 1000.):
        x, y = (features(samples, d, seed, scale).double().numpy() for seed in (0, 1))
        exact = ((x.mean(0) - y.mean(0))**2).sum() + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum() - 2 * scipy.linalg.svdvals(root(x) @ root(y)).sum()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            ours = {'features': fid_from_features(x, y), 'moments': frechet_distance(*moments(torch.from_numpy(x)), *moments(torch.from_numpy(y)))}
        for name, value in ours.items(): worst[name] = max(worst[name], float(abs(value / exact - 1)))
    return {f'FID with n={samples} < D={d}, features times 1 and 1000, from {name}: largest relative error': figure(error, 'relative', 'under 1e-5')
            for name, error in worst.items()}


# ---------------------------------------------------------------- pairwise metrics
def bench_pairwise(n: int, d: int, samples: int) -> dict:
    "KID, precision-recall, density-coverage: time against torch-fidelity and prdc."
    from prdc import compute_prdc
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric
    real, fake = (features(samples, d, seed) for seed in (0, 1))

    def prdc():
        with contextlib.redirect_stdout(io.StringIO()): compute_prdc(real.numpy(), fake.numpy(), 5)

    size = min(1000, samples)
    theirs = partial(kid_features_to_metric, rng_seed=0, verbose=False)
    pairs, default = 'KID of all pairs in float64, torch-fidelity', f"KID in float32 on 100 random subsets of {size}, torch-fidelity's default"
    work = {'KID': lambda: kid_from_features(real, fake),
            pairs: lambda: theirs(fake.double(), real.double(), kid_subsets=1, kid_subset_size=samples),
            default: lambda: theirs(fake, real, kid_subsets=100, kid_subset_size=size),
            'precision-recall': lambda: precision_recall_from_features(real, fake),
            'precision-recall, torch-fidelity': lambda: prc_features_to_metric(fake, real, verbose=False),
            'density-coverage': lambda: density_coverage_from_features(real, fake), 'density-coverage, prdc': prdc}
    rates = rounds({name: (lambda f=f: (1, timed(f))) for name, f in work.items()}, n)
    where = f'n={samples}, D={d}'
    return {f'{a} at {where}: ours / {b}': compare(rates, a, b, 'at least 1') for a, b in
            (('KID', pairs), ('KID', default), ('precision-recall', 'precision-recall, torch-fidelity'), ('density-coverage', 'density-coverage, prdc'))}


def bench_memory(d: int, samples: int) -> dict:
    "What each adds to the resident size of a process that holds the features and has done the same on a few rows."
    rows = {}
    for name in ('kid', 'mmd', 'precision_recall', 'density_coverage', 'one_nn'):
        code = ('import torch; from lgm_nbdev import evaluation as e\n'
                'def kilobytes(key): return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1])\n'
                f'x, y = torch.randn({samples}, {d}), torch.randn({samples}, {d}); f = e.{name}_from_features; f(x[:100], y[:100])\n'
                'open("/proc/self/clear_refs", "w").write("5")  # forget the peak of the imports\n'
                'before = kilobytes("VmRSS"); f(x, y); print(kilobytes("VmHWM") - before)')
        rows[f'{name.replace("_", "-")} at n={samples}, D={d}: extra memory'] = figure(int(python(code)) / 1024, 'MB', 'under 500')
    return rows


# ---------------------------------------------------------------- everything
def bench_everything(samples: int) -> dict:
    "Images of Fashion-MNIST through the classifier and all metrics."
    from lgm_nbdev.classifiers import get_classifier
    data, classifier = get_splits('fashion'), get_classifier('fashion')
    images = data.validation.floats()[:samples]
    made = {}

    def prepare(): made['reference'] = prepare_reference(data, classifier, samples)

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        before, scoring = timed(prepare), timed(lambda: evaluate(images, made['reference'], classifier))
    title = f'{samples} images of Fashion-MNIST through classifier and all metrics, with spreads'
    return {title: figure(scoring, 's', 'under 90'), f'the real images, their distances to all training images, and all floors (once per data set, n={samples})': figure(before, 's')}


def bench_metrics(n_rounds: int = 3, samples: int = 10_000, d: int = 2048) -> dict:
    "All rows; `n_rounds` rounds that count, `samples` images, `d` features of the FID benchmarks."
    rows = {}
    for bench in (partial(bench_frechet, n_rounds, d, samples), partial(bench_few, d, d // 4), partial(bench_pairwise, n_rounds, 128, samples),
                  partial(bench_memory, 128, samples), partial(bench_everything, samples)):
        for name, row in bench().items():
            rows[name] = row
            print(f"{name}: {row['median']:.3g} {row['unit']} (target: {row['target'] or 'none'})", flush=True)
    return rows


def main(argv=None):
    "Runs the benchmarks and writes their table."
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=3, help='rounds that count')
    parser.add_argument('--samples', type=int, default=10_000, help='images')
    parser.add_argument('--features', type=int, default=2048, help='of the FID benchmarks')
    parser.add_argument('--out', type=Path, default=ROOT / 'results' / 'benchmarks_metrics.json')
    args = parser.parse_args(argv)
    rows = bench_metrics(args.rounds, args.samples, args.features)
    write_json(args.out, {'rows': rows, 'machine': machine(), 'versions': versions(), 'threads': torch.get_num_threads(),
                          'settings': {k: v for k, v in vars(args).items() if k != 'out'}})


if __name__ == '__main__':
    main()
