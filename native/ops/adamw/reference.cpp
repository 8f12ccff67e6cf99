// AdamW in plain ATen, line by line like torch.optim.AdamW's single-tensor path.
#include "ops/adamw/op.h"

namespace cream::ops::reference {

void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight,
           const AdamWStep& step) {
  const at::NoGradGuard no_grad;
  const Tensor g = gradient * step.gradient_scale;
  master.mul_(1 - step.learning_rate * step.weight_decay);
  m.lerp_(g, 1 - step.beta1);
  v.mul_(step.beta2).addcmul_(g, g, 1 - step.beta2);
  const double correction1 = 1 - std::pow(step.beta1, static_cast<double>(step.step));
  const double correction2 = 1 - std::pow(step.beta2, static_cast<double>(step.step));
  const Tensor denominator = (v.sqrt() / std::sqrt(correction2)).add_(step.epsilon);
  master.addcdiv_(m, denominator, -step.learning_rate / correction1);
  if (!weight.is_same(master)) weight.copy_(master);
}

double sum_of_squares(const Tensor& x) { return x.to(at::kDouble).square().sum().item<double>(); }

}  // namespace cream::ops::reference
