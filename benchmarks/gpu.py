"""Speed and memory of Stable Diffusion 1.4's true size on a GPU, with random weights.

`python benchmarks/gpu.py --out performance.json`; `--narrow --device cpu` tries the program itself.
"""

from full_size.throughput import main

if __name__ == "__main__":
    main()
