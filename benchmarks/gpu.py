"""Speed and memory of Stable Diffusion 1.4's true size on a GPU, with random weights.

`python benchmarks/gpu.py --out gpu.json` takes less than 8 minutes; `--narrow --device cpu
--no-compile` tries the program itself.
"""

from full_size.on_a_gpu import main

if __name__ == "__main__":
    main()
