"""Every figure the course quotes about its own speed and size, from one run: `python benchmarks/run.py`.

Contenders are timed in turn (A B C, then C B A, then B C A, ...) and compared round by round, so that a machine that slows down slows
all of them; trainers take turns every second or two, each in a process of its own. Ratios are written to results/benchmarks.json, which the chapter on experiments shows as a table. Run it on an idle
machine, with `pip install -r benchmarks/requirements.txt` beside the library's own requirements.
"""
import argparse
import contextlib
import copy
import gzip
import itertools
import logging
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from lgm_nbdev.data import UNIT, BatchLoader, ImageStore, get_splits, read_json, write_json
from lgm_nbdev.experiments import machine, versions
import lgm_nbdev.training as library
from lgm_nbdev.training import TrainerConfig, has_native_bfloat16, seeded
from lgm_nbdev.vae import VAEGauss, VAETrainer, build_vae, kl_loss_gauss, vae_config

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = Path('/usr/share/datasets/fashion-mnist')
BATCH, LEARNING_RATE = 128, 1e-3


@contextlib.contextmanager
def quiet():
    "Progress bars are drawn as in a terminal, but to nowhere."
    with open(os.devnull, 'w') as sink, contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink): yield


def timed(work) -> float:
    "Seconds that `work()` takes."
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def order(names, i: int) -> list:
    "The names in the order of round `i`: each round begins with another one, and every second round runs backwards."
    names = list(names)
    turned = names[i % len(names):] + names[:i % len(names)]
    return turned[::-1] if i % 2 else turned


def rounds(contenders: dict, n: int) -> dict[str, list[float]]:
    "Items per second of every contender in each of `n` rounds, after one round that is not counted."
    rates = {name: [] for name in contenders}
    for i in range(n + 1):
        for name in order(contenders, i):
            items, seconds = contenders[name]()
            if i: rates[name].append(items / seconds)
    return rates


def compare(rates: dict, a: str, b: str, target: str = '') -> dict:
    "Median over rounds of the ratio a / b, with the smallest and the largest, and what it should be."
    pairs = [x / y for x, y in zip(rates[a], rates[b])]
    return dict(median=statistics.median(pairs), low=min(pairs), high=max(pairs), rounds=len(pairs), unit='ratio', target=target)


def figure(value: float, unit: str, target: str = '') -> dict:
    "One measured value."
    return dict(median=value, unit=unit, target=target)


# ---------------------------------------------------------------- batches
def torchvision_fashion(root: Path):
    "torchvision's own dataset over the same files."
    from torchvision.datasets import FashionMNIST
    from torchvision.transforms import ToTensor
    raw = root / 'FashionMNIST' / 'raw'
    raw.mkdir(parents=True)
    for file in DEBIAN.glob('*.gz'):
        with gzip.open(file) as packed, open(raw / file.stem, 'wb') as plain: shutil.copyfileobj(packed, plain)
    return FashionMNIST(root, train=True, transform=ToTensor())


def bench_batches(n: int) -> dict:
    "Images per second of our loader and of torchvision's dataset with two worker processes, once the tensors were found equal."
    with tempfile.TemporaryDirectory() as folder:
        theirs = torchvision_fashion(Path(folder))
        store = ImageStore(theirs.data[:, None], theirs.targets, tuple(theirs.classes), name='fashion', split='train')
        ours = BatchLoader(store, BATCH, seed=0)
        batch = next(iter(ours))
        assert torch.equal(batch.x, torch.stack([theirs[int(i)][0] for i in batch.index])), 'the tensors differ'
        loader = torch.utils.data.DataLoader(theirs, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
        walk = {'ours': lambda: sum(len(b.x) for b in ours), 'torchvision': lambda: sum(len(x) for x, _ in loader)}
        rates = rounds({name: (lambda work=work: (len(store), timed(work))) for name, work in walk.items()}, n)
    return {'batches of Fashion-MNIST: ours / torchvision + DataLoader(num_workers=2)': compare(rates, 'ours', 'torchvision', 'at least 10')}


# ---------------------------------------------------------------- training
def bare_loop(model, images, dtype):
    "One epoch of the plainest loop there is: same tensors, model, loss, optimizer and precision; no history, average or bar."
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch():
        model.train()
        for x in images.split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
                mu, log_var = model.encoding_parameters(x)
                params = model.decode(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
            loss = (kl_loss_gauss(mu.float(), log_var.float()) - model.likelihood.log_prob(x, params.float())).mean()
            loss.backward()
            optimizer.step()
    return lambda: (len(images), timed(epoch))


def our_trainer(model, store, precision, out):
    "One epoch of the course's trainer with all it does: history and a last checkpoint on disk (with a folder), average of the weights, progress bar."
    config = TrainerConfig(epochs=1000, lr=LEARNING_RATE, precision=precision, ema_decay=0.999, checkpoint_every_epochs=None, eval_every=None)
    trainer = VAETrainer(model, BatchLoader(store, BATCH), config=config, out=out)

    def work():
        with quiet(): seconds = timed(lambda: trainer.train_model(epochs=trainer.epoch + 1))
        return len(store), seconds
    return work


def pythae_vae(model, image_shape):
    "pythae's VAE around the two networks of ours."
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    logging.getLogger('pythae').setLevel(logging.ERROR)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = model.encoder

        def forward(self, x):
            mu, log_var = self.net(x).chunk(2, 1)
            return ModelOutput(embedding=mu, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = model.decoder

        def forward(self, z): return ModelOutput(reconstruction=self.net(z))

    return VAE(VAEConfig(input_dim=tuple(image_shape), latent_dim=model.latent_dim, reconstruction_loss='mse'), Encoder(), Decoder())


def pythae_trainer(model, images, out):
    "One epoch of pythae's trainer on the same two networks."
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    settings = BaseTrainerConfig(output_dir=str(out), num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=LEARNING_RATE, no_cuda=True)
    trainer = BaseTrainer(pythae_vae(model, images.shape[1:]), BaseDataset(images, torch.zeros(len(images))), training_config=settings)
    trainer.prepare_training()

    def work():
        with quiet(): seconds = timed(lambda: trainer.train_step(1))
        return len(images), seconds
    return work


def lightning_trainer(model, images, precision):
    "One epoch of Lightning's trainer on the same model and loss, with its progress bar and its log of the loss."
    import lightning as L
    logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model

        def training_step(self, batch, i):
            mu, log_var = model.encoding_parameters(batch[0])
            params = model.decode(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
            loss = (kl_loss_gauss(mu.float(), log_var.float()) - model.likelihood.log_prob(batch[0], params.float())).mean()
            self.log('loss', loss, prog_bar=True)
            return loss

        def configure_optimizers(self): return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE, fused=True)
        def on_train_epoch_start(self): self.start = time.perf_counter()
        def on_train_epoch_end(self): self.seconds = time.perf_counter() - self.start

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), BATCH, shuffle=True)
    module = Module()

    def work():
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            L.Trainer(max_epochs=1, accelerator='cpu', precision=precision, logger=False, enable_checkpointing=False,
                      enable_model_summary=False).fit(module, loader)
        return len(images), module.seconds
    return work


def default_networks():
    "The course's default VAE."
    with seeded(0): return build_vae(vae_config(image_shape=(1, 28, 28)))


def pythae_networks():
    "The convolutional networks that pythae ships for images of this size, 30 times the arithmetic of ours, in a VAE of ours."
    from types import SimpleNamespace
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
    size = SimpleNamespace(latent_dim=16, input_dim=(1, 28, 28))

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Encoder_Conv_VAE_MNIST(size)

        def forward(self, x):
            code = self.net(x)
            return torch.cat([code.embedding, code.log_covariance], 1)

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Decoder_Conv_AE_MNIST(size)

        def forward(self, z): return self.net(z).reconstruction

    with seeded(0): return VAEGauss(Encoder(), Decoder(), 16, {'name': 'gaussian_fixed_sigma', 'sigma': 0.25}, UNIT)


def forgetful_trainer(model, store, precision, out):
    "The course's trainer without `kept_memory`: what a step frees goes back to the system."
    library.kept_memory = lambda device: contextlib.nullcontext()
    return our_trainer(model, store, precision, out)


CONTENDERS = {  # name -> function of (model, store, folder or None), which returns the work of one epoch
    'bare float32': lambda model, store, out: bare_loop(model, store.floats(), torch.float32),
    'ours float32': lambda model, store, out: our_trainer(model, store, 'float32', out),
    'ours float32, memory given back': lambda model, store, out: forgetful_trainer(model, store, 'float32', out),
    'pythae': lambda model, store, out: pythae_trainer(model, store.floats(), out),
    'lightning float32': lambda model, store, out: lightning_trainer(model, store.floats(), '32-true'),
}
NATIVE = {  # the same, where the processor has bfloat16
    'ours auto': lambda model, store, out: our_trainer(model, store, 'auto', out),
    'bare bfloat16': lambda model, store, out: bare_loop(model, store.floats(), torch.bfloat16),
    'lightning bfloat16': lambda model, store, out: lightning_trainer(model, store.floats(), 'bf16-mixed'),
}


def take_turns(pipe, name: str, make, turns: int, steps: int):
    """One contender in this process. From one call of the encoder to the next is a step; after each turn of `steps` steps it sends the
    seconds that they took and waits for its next turn."""
    train, model, since, calls = get_splits('fashion').train, make(), [], itertools.count()
    store = train.subset(torch.arange(BATCH * (turns * steps + 1)) % len(train))

    def gate(*_):
        if next(calls) % steps: return
        if since: pipe.send(time.perf_counter() - since.pop())
        pipe.recv()
        since.append(time.perf_counter())
    model.encoder.register_forward_pre_hook(gate)
    with tempfile.TemporaryDirectory() as folder: (CONTENDERS | NATIVE)[name](model, store, Path(folder))()


def turn_seconds(names, make, turns: int, steps: int) -> dict[str, list[float]]:
    "Seconds of each contender's turns of `steps` steps, after three turns that are not counted; while one works all others wait."
    processes, pipes = {}, {}
    context = multiprocessing.get_context('spawn')
    for name in names:
        pipes[name], theirs = context.Pipe()
        processes[name] = context.Process(target=take_turns, args=(theirs, name, make, turns + 3, steps), daemon=True)
        processes[name].start()
        theirs.close()
    seconds = {name: [] for name in names}
    for i in range(turns + 3):
        for name in order(names, i):
            pipes[name].send('your turn')
            spent = pipes[name].recv()
            if i >= 3: seconds[name].append(spent)
    for process in processes.values(): process.terminate()
    return seconds


def bench_training(n: int, turns: int, steps: int, make=default_networks, title: str = 'VAE training') -> dict:
    """The course's trainer against a bare loop, pythae and Lightning: same initial weights, images and batch size. A round is so many turns
    of each, a turn so many steps; what a trainer does at the end of an epoch is not in it."""
    native = has_native_bfloat16('cpu')
    seconds = turn_seconds([*CONTENDERS, *(NATIVE if native else [])], make, n * turns, steps)
    rates = {name: [BATCH * turns * steps / sum(s[i:i + turns]) for i in range(0, n * turns, turns)] for name, s in seconds.items()}
    pairs = [('ours float32', 'bare float32', 'at least 0.95'), ('ours float32', 'pythae', 'at least 1'), ('ours float32', 'lightning float32', 'at least 1'),
             ('ours float32', 'ours float32, memory given back', '')]
    if native:
        pairs += [('ours auto', 'bare bfloat16', 'at least 0.95'), ('ours auto', 'pythae', 'at least 1.3'), ('ours auto', 'lightning float32', 'at least 1.6'),
                  ('ours auto', 'lightning bfloat16', 'at least 1'), ('bare bfloat16', 'bare float32', '')]
    return {f'{title}: {a} / {b}': compare(rates, a, b, target) for a, b, target in pairs}


def bench_precision(seeds: int, steps: int) -> dict:
    "Whether the final loss in bfloat16 lies within the spread over seeds of float32."
    splits = get_splits('fashion')
    final = {}
    for precision in ('float32', 'bfloat16'):
        for seed in range(seeds):
            with seeded(seed): model = build_vae(vae_config(image_shape=(1, 28, 28)))
            config = TrainerConfig(max_steps=steps, lr=LEARNING_RATE, precision=precision, seed=seed, progress=False, eval_every=None)
            trainer = VAETrainer(model, BatchLoader(splits.train, BATCH, seed=seed), BatchLoader(splits.validation, 500, shuffle=False), config=config)
            trainer.train_model()
            final.setdefault(precision, []).append(trainer.evaluate()['loss'])
    means = {precision: statistics.mean(values) for precision, values in final.items()}
    spread = statistics.stdev(final['float32'])
    return {f'final validation loss after {steps} steps, bfloat16 - float32, in standard deviations over {seeds} seeds of float32':
            figure((means['bfloat16'] - means['float32']) / spread, 'standard deviations', 'within 2')}


def bench_kernels(n: int) -> dict:
    "Where bfloat16 gains and where not: the product of large matrices, and the gradient of the weights of pythae's last convolution, 3x3 to 1x1 pixels."
    matrices = {dtype: torch.randn(1024, 1024).to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    images, gradients = ({dtype: torch.randn(BATCH, channels, side, side).to(dtype) for dtype in matrices} for channels, side in ((512, 3), (1024, 1)))
    kernels = {'product of two 1024 x 1024 matrices': lambda dtype: matrices[dtype] @ matrices[dtype],
               'gradient of the weights, 512 to 1024 channels, 3x3 to 1x1 pixels': lambda dtype: torch.nn.grad.conv2d_weight(
                   images[dtype], (1024, 512, 4, 4), gradients[dtype], stride=2, padding=1)}
    found = {}
    for name, kernel in kernels.items():
        rates = rounds({str(dtype): (lambda dtype=dtype: (10, timed(lambda: [kernel(dtype) for _ in range(10)]))) for dtype in matrices}, n)
        found[f'{name}: bfloat16 / float32'] = compare(rates, 'torch.bfloat16', 'torch.float32')
    return found


# ---------------------------------------------------------------- memory and imports
def python(code: str) -> str:
    "What a fresh interpreter prints for `code`."
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def bench_memory() -> dict:
    "Largest resident size of a process that loads full Fashion-MNIST and walks once through it."
    code = ('import resource; from lgm_nbdev.data import get_datasets_and_loaders as g; _, loaders = g("fashion", 128)\n'
            'for batch in loaders["train"]: pass\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)')
    return {'peak memory, full Fashion-MNIST and one epoch of batches': figure(int(python(code)) / 1024**2, 'GB', 'under 2.5')}


def bench_import(n: int) -> dict:
    "What `import lgm_nbdev.layers` adds to `import torch`."
    code = 'import time, torch; t = time.perf_counter(); import lgm_nbdev.layers; print(time.perf_counter() - t)'
    return {'import lgm_nbdev.layers after import torch': figure(statistics.median(float(python(code)) for _ in range(n)), 's', 'under 0.1')}


def benches(args) -> dict:
    "Name -> function that returns rows of the table."
    from bounds import bench_bounds  # these two build on this file
    from metrics import bench_metrics
    return {'import': lambda: bench_import(args.rounds), 'memory': bench_memory, 'batches': lambda: bench_batches(args.rounds),
            'training': lambda: bench_training(args.rounds, args.turns, steps=10),
            'pythae': lambda: bench_training(args.rounds, args.turns, 1, pythae_networks, "VAE training, pythae's own networks"),
            'precision': lambda: bench_precision(args.seeds, args.steps), 'kernels': lambda: bench_kernels(args.rounds) if has_native_bfloat16('cpu') else {}, 'bounds': lambda: bench_bounds(args.rounds),
            'metrics': lambda: bench_metrics(min(3, args.rounds))}


def rows_to_keep(path: Path, where: dict) -> dict:
    "The rows of an earlier run on the same machine with the same versions; SystemExit for any other."
    earlier = read_json(path) if path.is_file() else {'rows': {}, **where}
    if {name: earlier.get(name) for name in where} != where:
        raise SystemExit(f'{path} is from another machine or other versions, and a table mixes no machines: run all benchmarks, without --only.')
    return earlier['rows']


def main(argv=None):
    "Runs the benchmarks and writes their table."
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=7, help='rounds that count')
    parser.add_argument('--turns', type=int, default=8, help="turns per round and contender of training: of ten steps each, of one for pythae's own networks")
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=400, help='steps of the comparison of precisions')
    parser.add_argument('--only', nargs='+', choices=['import', 'memory', 'batches', 'training', 'pythae', 'precision', 'kernels', 'bounds', 'metrics'],
                        help='only these; the other rows of the table stay, if they are of this machine')
    parser.add_argument('--out', type=Path, default=ROOT / 'results' / 'benchmarks.json')
    args = parser.parse_args(argv)
    where = {'machine': machine(), 'versions': versions(), 'threads': torch.get_num_threads()}
    rows, all_benches = rows_to_keep(args.out, where) if args.only else {}, benches(args)
    settings = {k: v for k, v in vars(args).items() if k not in ('out', 'only')}
    for name in args.only or all_benches:
        for title, row in all_benches[name]().items():
            rows[title] = row
            print(f"{title}: {row['median']:.3g} {row['unit']} (target: {row['target'] or 'none'})", flush=True)
        write_json(args.out, {'rows': rows, **where, 'settings': settings})  # after each: what was measured stays, whatever fails next


if __name__ == '__main__':
    main()
