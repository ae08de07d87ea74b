"""What the chapter on bounds says about its speed and memory: `python benchmarks/bounds.py`, or `bench_bounds(rounds)` from another script.

Log-likelihood by importance sampling against the decoder alone at its best batch size, against pythae's `get_nll` on the same networks,
against large chunks and bfloat16, and the largest extra memory on 64 x 64 colour images. Same rules as run.py: contenders in turn, ratios round by round.
"""
import argparse
import math
import statistics
import sys

import torch

from lgm_nbdev.bounds import DECODE_ROWS, log_likelihood
from lgm_nbdev.data import BatchLoader, get_splits
from lgm_nbdev.training import TrainerConfig, eval_mode, has_native_bfloat16, seeded
from lgm_nbdev.vae import VAETrainer, build_vae, vae_config
from run import compare, figure, python, pythae_vae, quiet, rounds, timed

K = 2000
BATCH_SIZES = (25, 50, 100, 150, 200, 250, 400, 1000, 2000)  # the decoder's own best is looked for among these


def trained_model(steps: int):
    "The default VAE with the one likelihood that pythae's estimator knows (a Gaussian with sigma = 1), after a short training."
    splits = get_splits('fashion')
    model = build_vae(vae_config((1, 28, 28), likelihood={'name': 'gaussian_fixed_sigma', 'sigma': 1.}))
    config = TrainerConfig(max_steps=steps, lr=2e-3, precision='float32', eval_every=None, progress=False)
    VAETrainer(model, BatchLoader(splits.train, 128), config=config).train_model()
    return model, splits.validation.floats()


def decoder_alone(model, z, batch_size):
    "Decodes the codes in batches of one size, and does nothing else."
    def decode():
        with torch.no_grad(), eval_mode(model):
            for part in z.split(batch_size): model.decode(part)
    return lambda: (len(z), timed(decode))


def ours(model, x, **options):
    "Images through `log_likelihood`; the last result is kept."
    def work():
        seconds = timed(lambda: setattr(work, 'result', log_likelihood(model, x, K, **options)))
        return len(x), seconds
    return work


def pythae_nll(model, x):
    "Images through pythae's estimator, with its default of 100 draws at a time, on the same two networks."
    rival = pythae_vae(model, x.shape[1:]).eval()

    def work():
        with torch.no_grad(), quiet(): seconds = timed(lambda: setattr(work, 'value', float(rival.get_nll(x, K, batch_size=100))))
        return len(x), seconds
    return work


MEMORY = '''
import re, torch
from pathlib import Path
from lgm_nbdev.bounds import log_likelihood
from lgm_nbdev.vae import build_vae, vae_config
def megabytes(key): return int(re.search(key + r":\\s+(\\d+)", Path('/proc/self/status').read_text())[1])*1024/1e6
model, x = build_vae(vae_config((3, 64, 64), 128)), torch.rand(2, 3, 64, 64)
log_likelihood(model, x, K=1, rows=1)
before = megabytes('VmRSS')
log_likelihood(model, x, K=2000, memory_mb=500)
print(megabytes('VmHWM') - before)
'''


def bench_bounds(n: int, images: int = 8, steps: int = 150) -> dict:
    "Rows of the table: name -> figure."
    with seeded(0): model, x = trained_model(steps)
    x = x[:images]
    z = torch.randn(K * images, model.latent_dim, generator=torch.Generator().manual_seed(0))
    alone = {f'decoder {size}': decoder_alone(model, z, size) for size in BATCH_SIZES}
    full, rival = ours(model, x), pythae_nll(model, x)
    contenders = {**alone, 'ours': full, 'pythae': rival, 'large chunks': ours(model, x, rows=2 * K, memory_mb=20_000)}
    if has_native_bfloat16('cpu'): contenders['bfloat16'] = ours(model, x, precision='bfloat16')
    rates = rounds(contenders, n)
    error = math.hypot(full.result.mean_standard_error, full.result.mean_standard_error)  # theirs has the same
    assert abs(full.result.mean - rival.value) < 4 * error, (full.result.mean, rival.value, error)  # its "nll" is log p: the sign
    best = max(alone, key=lambda name: statistics.median(rates[name]))
    rates['decodes'] = [K * rate for rate in rates['ours']]
    rows = {f'log_likelihood at K = {K}: decodes / decoder alone at its best batch size': compare(rates, 'decodes', best, 'at least 0.9'),
            'the decoder\'s best batch size': figure(int(best.split()[1]), 'codes'),
            f'log-likelihood at K = {K}, images: ours / pythae get_nll (same value, its sign mended)': compare(rates, 'ours', 'pythae', 'at least 1.3'),
            'log-likelihood, ours - pythae, in standard errors': figure((full.result.mean - rival.value) / error, 'standard errors', 'within 4'),
            f'log-likelihood: {DECODE_ROWS} draws at a time / the {2 * K} draws of two images at once': compare(rates, 'ours', 'large chunks')}
    if 'bfloat16' in contenders:
        rows |= {'log-likelihood: bfloat16 decoding / float32': compare(rates, 'bfloat16', 'ours'),
                 'log-likelihood: bfloat16 decoding - float32': figure(contenders['bfloat16'].result.mean - full.result.mean, 'nats')}
    if sys.platform == 'linux':
        rows['log_likelihood, 64 x 64 colour images, memory_mb=500: largest extra memory'] = figure(float(python(MEMORY)), 'MB', 'under 500')
    return rows


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--images', type=int, default=8, help='per round and contender')
    args = parser.parse_args()
    for name, row in bench_bounds(args.rounds, args.images).items():
        print(f"{name}: {row['median']:.4g} {row['unit']} (target: {row['target'] or 'none'})", flush=True)
